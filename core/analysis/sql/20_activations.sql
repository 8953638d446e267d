-- activations    one row a non-zero entry of the code
--   feature        0 .. d_sae - 1
--   token_idx      the position
--   value          > 0, in the units of the SAE's code on raw activations
--
-- Sorted by feature, then value from the strongest down, then token_idx. Other files lean on that: within a feature
-- a smaller rowid is a stronger activation, so rank r of a feature is its first rowid + r.

CREATE TABLE activations AS
SELECT feature, token_idx, value
FROM read_parquet(getvariable('shards') || '/codes-*.parquet')
ORDER BY feature, value DESC, token_idx;

-- Where each feature that fired lies in `activations`.
CREATE TEMP TABLE spans AS
SELECT feature, min(rowid) AS first_row, count(*) AS n, max(value)::DOUBLE AS max
FROM activations
GROUP BY feature;
