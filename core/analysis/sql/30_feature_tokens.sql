-- feature_tokens one row a token a feature fires on: the `top_tokens` it fires on most often
--   token_id, text the token
--   n              how often the feature fired on it; ties go to the smaller token_id
--   mean           mean activation there
--   lift           P(token | the feature fires) / P(token), over counted tokens: 1 where they have nothing to do
--                  with each other
--
-- For 40_features.sql:
-- token_entropies  the entropy in nats of the token a firing falls on, H = sum of p ln(1/p) with
--                  p = firings on the token / firings, over all tokens
-- halves           how often a feature fired in each half of the documents, and the cosine of both counts by token:
--                  1 where it fires on the same tokens in both, 0 where on others or in one half only

-- Sums of floating-point numbers are the same every time only if added in the same order; this costs little.
SET threads = 1;

CREATE TEMP TABLE token_firings AS
SELECT feature, token_id, count(*) AS n, avg(value) AS mean, count(*) FILTER (half = 0) AS n_a
FROM activations JOIN places USING (token_idx)
GROUP BY feature, token_id;

CREATE TEMP TABLE halves AS
SELECT
    feature,
    sum(n_a) AS n_a,
    sum(n - n_a) AS n_b,
    sum(n_a * (n - n_a)) / nullif(sqrt(sum(n_a * n_a)) * sqrt(sum((n - n_a) * (n - n_a))), 0) AS token_stability
FROM token_firings
GROUP BY feature;

CREATE TEMP TABLE token_entropies AS
SELECT feature, sum(t.n / s.n * ln(s.n / t.n)) AS token_entropy
FROM token_firings t JOIN spans s USING (feature)
GROUP BY feature;

CREATE TABLE feature_tokens AS
WITH frequent AS (
    SELECT feature, unnest(min((-n, token_id, mean), getvariable('top_tokens')::BIGINT)) AS kept
    FROM token_firings
    GROUP BY feature
),
counts AS (
    SELECT token_id, count(*) / sum(count(*)) OVER () AS share FROM places GROUP BY token_id
)
SELECT
    feature,
    kept[2] AS token_id,
    text,
    -kept[1] AS n,
    kept[3] AS mean,
    -kept[1] / s.n / share AS lift
FROM frequent
JOIN spans s USING (feature)
JOIN counts ON counts.token_id = kept[2]
JOIN vocabulary ON vocabulary.token_id = kept[2]
ORDER BY feature, n DESC, token_id;

DROP TABLE token_firings;
