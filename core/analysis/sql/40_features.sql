-- features       one row a feature, from 0 to d_sae - 1. Columns from `mean` to `p99`, `top_token`, the entropies and
--                `token_stability` are NULL where it never fired.
--   n              counted tokens on which it is active
--   density        n / counted tokens
--   mean, std, max of its active values; std is that of the population: 0 where it fired once
--   p50, p90, p99  percentiles of its active values, interpolated linearly between neighbours
--   decoder_norm   ‖W_dec[feature]‖
--   encoder_norm   ‖W_enc[:, feature]‖
--   encoder_cosine cosine of the two
--   bias           b_enc[feature]
--   threshold      what a pre-activation must pass; NULL for architectures without one
--   dead           it did not fire in this analysis, whatever it did in training
--   dense          density > 0.1
--   duplicate      its decoder direction has a cosine above 0.9 with that of another feature
--   top_token      text of the token it fires on most often
--   token_entropy  in nats, of the token a firing falls on: 0 for a feature of one token
--   category_entropy  in nats, of the category of the document a firing falls in; NULL where there are no categories
--   specialist_category, specialist_score  where it is strong in the most documents, and how many more those are
--                  than in all other categories together: above 0 for a specialist; NULL where it is strong nowhere
--   density_a, density_b  its density in every other document, and in those between: how far a density can be trusted
--   token_stability  cosine of how often it fired on each token in both halves: 1 where they agree
--   birth, death   the steps between which it was active in training (see 16_snapshots.sql)
--   stability      how far it fired on the same from snapshot to snapshot of its training (see 16_snapshots.sql)
--   cluster, x, y  of its decoder direction (see 70_clusters.sql)
-- by_density     their numbers in the order one begins to browse with: the densest first, so that a million need no sort

CREATE TABLE features (
    feature INTEGER,
    n BIGINT,
    density DOUBLE,
    mean DOUBLE,
    std DOUBLE,
    max DOUBLE,
    p50 DOUBLE,
    p90 DOUBLE,
    p99 DOUBLE,
    decoder_norm FLOAT,
    encoder_norm FLOAT,
    encoder_cosine FLOAT,
    bias FLOAT,
    threshold FLOAT,
    dead BOOLEAN,
    dense BOOLEAN,
    duplicate BOOLEAN,
    top_token VARCHAR USING COMPRESSION uncompressed,  -- as the text of tokens
    token_entropy DOUBLE,
    category_entropy DOUBLE,
    specialist_category VARCHAR,
    specialist_score BIGINT,
    density_a DOUBLE,
    density_b DOUBLE,
    token_stability DOUBLE,
    birth INTEGER,
    death INTEGER,
    stability DOUBLE,
    cluster INTEGER,
    x FLOAT,
    y FLOAT
);

INSERT INTO features BY NAME
WITH moments AS (
    SELECT feature, avg(value) AS mean, stddev_pop(value) AS std FROM activations GROUP BY feature
),
counted AS (
    SELECT count(*) AS tokens, count(*) FILTER (half = 0) AS in_a, count(*) FILTER (half = 1) AS in_b FROM places
),
alike AS (
    SELECT feature, max(cosine) > 0.9 AS duplicate FROM neighbours GROUP BY feature
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
    encoder_cosine,
    bias,
    threshold,
    s.n IS NULL AS dead,
    coalesce(s.n, 0) / tokens > 0.1 AS dense,
    coalesce(duplicate, false) AS duplicate,
    (SELECT arg_min(text, (-t.n, t.token_id)) FROM feature_tokens t WHERE t.feature = w.feature) AS top_token,
    token_entropy,
    category_entropy,
    specialist_category,
    specialist_score,
    coalesce(n_a, 0) / nullif(in_a, 0) AS density_a,
    coalesce(n_b, 0) / nullif(in_b, 0) AS density_b,
    CASE WHEN s.n IS NOT NULL THEN coalesce(token_stability, 0) END AS token_stability,
    birth,
    death,
    stability,
    cluster,
    x,
    y
FROM read_parquet(getvariable('shards') || '/weights.parquet') w
CROSS JOIN counted
LEFT JOIN spans s USING (feature)
LEFT JOIN moments USING (feature)
LEFT JOIN percentiles p50 ON p50.feature = w.feature AND p50.percent = 50
LEFT JOIN percentiles p90 ON p90.feature = w.feature AND p90.percent = 90
LEFT JOIN percentiles p99 ON p99.feature = w.feature AND p99.percent = 99
LEFT JOIN token_entropies USING (feature)
LEFT JOIN category_entropies USING (feature)
LEFT JOIN specialists USING (feature)
LEFT JOIN halves USING (feature)
LEFT JOIN alike USING (feature)
LEFT JOIN lives USING (feature)
LEFT JOIN read_parquet(getvariable('shards') || '/structure.parquet') USING (feature)
ORDER BY w.feature;

CREATE TABLE by_density AS
SELECT feature FROM features ORDER BY density DESC, feature;

-- What follows adds nothing up but counts.
SET threads = getvariable('threads');
