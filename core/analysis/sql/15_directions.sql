-- What the weights alone say.
--
-- logits         the tokens a feature's decoder direction promotes and suppresses most; no rows where the hook point
--                is not in the residual stream
--   sign, rank     1: promoted, -1: suppressed; rank from 0, the strongest first
--   token_id, text the token
--   value          its logit, to first order, less the mean over the vocabulary; only order and sign mean something
-- logit_histogram  how these logits are spread over the vocabulary
--   bin, lo, hi    bins of equal width from the least to the largest, from 0: lo <= logit < hi
--   n              tokens of the vocabulary in it
-- neighbours     the features whose decoder directions are most alike
--   rank           from 0, the most alike first; never the feature itself
--   other, cosine  the neighbour, and the cosine of both directions
-- alignment      the dimensions (neurons, at a hook point in an MLP) in which a decoder direction is largest
--   rank           from 0, the largest in absolute value first
--   neuron, weight the dimension, and the direction's entry there
--   share          |weight| / sum of |entries|

CREATE TABLE logits (
    feature INTEGER,
    sign INTEGER,
    rank INTEGER,
    token_id INTEGER,
    text VARCHAR USING COMPRESSION uncompressed,  -- as that of tokens
    value FLOAT
);

INSERT INTO logits
SELECT feature, sign, rank, token_id, text, value
FROM read_parquet(getvariable('shards') || '/logits.parquet')
JOIN vocabulary USING (token_id)
ORDER BY feature, sign DESC, rank;

CREATE TABLE logit_histogram AS
SELECT feature, bin, lo, hi, n
FROM read_parquet(getvariable('shards') || '/logit_histogram.parquet')
ORDER BY feature, bin;

CREATE TABLE neighbours AS
SELECT feature, rank, other, cosine
FROM read_parquet(getvariable('shards') || '/neighbours.parquet')
ORDER BY feature, rank;

CREATE TABLE alignment AS
SELECT feature, rank, neuron, weight, share
FROM read_parquet(getvariable('shards') || '/alignment.parquet')
ORDER BY feature, rank;
