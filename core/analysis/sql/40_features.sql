-- features       one row a feature, from 0 to d_sae - 1. Columns from `mean` to `p99`, `top_token` and the entropies
--                are NULL where it never fired.
--   n              counted tokens on which it is active
--   density        n / counted tokens
--   mean, std, max of its active values; std is that of the population: 0 where it fired once
--   p50, p90, p99  percentiles of its active values, interpolated linearly between neighbours
--   decoder_norm   ‖W_dec[feature]‖
--   encoder_norm   ‖W_enc[:, feature]‖
--   bias           b_enc[feature]
--   threshold      what a pre-activation must pass; NULL for architectures without one
--   dead           it did not fire in this analysis, whatever it did in training
--   top_token      text of the token it fires on most often
--   token_entropy  in nats, of the token a firing falls on: 0 for a feature of one token
--   category_entropy  in nats, of the category of the document a firing falls in; NULL where there are no categories

-- Percentile p of n values lies at (n - 1) p / 100 from the weakest: between two rows, found by their rowids.
CREATE TEMP TABLE percentiles AS
WITH marks AS (
    SELECT
        feature,
        percent,
        (n - 1) * percent // 100 AS below,
        (n - 1) * percent % 100 / 100 AS share,
        first_row + n - 1 AS weakest
    FROM spans, (VALUES (50), (90), (99)) AS t (percent)
),
corners AS (
    SELECT feature, percent, weakest - below AS row_id, 1 - share AS weight FROM marks
    UNION ALL
    SELECT feature, percent, weakest - below - 1, share FROM marks WHERE share > 0
)
SELECT feature, percent, sum(weight * value) AS value
FROM corners JOIN (SELECT rowid AS row_id, value FROM activations) USING (row_id)
GROUP BY feature, percent;

CREATE TEMP TABLE category_entropies AS
WITH firings AS (
    SELECT feature, category_id, count(*) AS n
    FROM activations JOIN places USING (token_idx)
    GROUP BY feature, category_id
)
SELECT feature, sum(f.n / s.n * ln(s.n / f.n)) AS category_entropy
FROM firings f JOIN spans s USING (feature)
WHERE EXISTS (FROM documents WHERE category <> '')
GROUP BY feature;

CREATE TABLE features AS
WITH moments AS (
    SELECT feature, avg(value) AS mean, stddev_pop(value) AS std FROM activations GROUP BY feature
),
counted AS (
    SELECT count(*) AS tokens FROM places
)
SELECT
    w.feature,
    coalesce(s.n, 0) AS n,
    coalesce(s.n, 0) / tokens AS density,
    mean,
    std,
    max,
    p50.value AS p50,
    p90.value AS p90,
    p99.value AS p99,
    decoder_norm,
    encoder_norm,
    bias,
    threshold,
    s.n IS NULL AS dead,
    (SELECT arg_min(text, (-t.n, t.token_id)) FROM feature_tokens t WHERE t.feature = w.feature) AS top_token,
    token_entropy,
    category_entropy
FROM read_parquet(getvariable('shards') || '/weights.parquet') w
CROSS JOIN counted
LEFT JOIN spans s USING (feature)
LEFT JOIN moments USING (feature)
LEFT JOIN percentiles p50 ON p50.feature = w.feature AND p50.percent = 50
LEFT JOIN percentiles p90 ON p90.feature = w.feature AND p90.percent = 90
LEFT JOIN percentiles p99 ON p99.feature = w.feature AND p99.percent = 99
LEFT JOIN token_entropies USING (feature)
LEFT JOIN category_entropies USING (feature)
ORDER BY w.feature;

-- What follows adds nothing up but counts.
SET threads = getvariable('threads');
