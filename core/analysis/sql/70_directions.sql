-- What the weights alone say.
--
-- logits         the tokens a feature's decoder direction promotes and suppresses most; no rows where the hook point
--                is not in the residual stream
--   sign, rank     1: promoted, -1: suppressed; rank from 0, the strongest first
--   token_id, text the token
--   value          its logit, to first order, less the mean over the vocabulary; only order and sign mean something
-- neighbours     the features whose decoder directions are most alike
--   rank           from 0, the most alike first; never the feature itself
--   other, cosine  the neighbour, and the cosine of both directions

CREATE TABLE logits AS
SELECT feature, sign, rank, token_id, text, value
FROM read_parquet(getvariable('shards') || '/logits.parquet')
JOIN vocabulary USING (token_id)
ORDER BY feature, sign DESC, rank;

CREATE TABLE neighbours AS
SELECT feature, rank, other, cosine
FROM read_parquet(getvariable('shards') || '/neighbours.parquet')
ORDER BY feature, rank;
