-- How features emerged, from `snapshots.parquet` of the training; empty where it took no snapshots.
--
-- snapshots        one row a snapshot and feature; measured on a sample of what the SAE was trained on
--   density, mean  share of the sample on which it was active, and the mean of its active values; NULL where never
--   drift          1 - cosine of its decoder row and that of the snapshot before; NULL at the first
--   drift_final    1 - cosine of its decoder row and that of the last snapshot
--   jaccard        of the sample it was active on at the snapshot before or at this one, the share on which it was at
--                  both; NULL at the first and where there is none
--
-- For 40_features.sql: `lives`
--   birth          step of the first snapshot on which it was active; NULL where it was on none
--   death          step of the snapshot after the last one on which it was active; NULL where that is the last of all,
--                  or it was never active
--   stability      mean of its jaccard: 1 where it always fired on the same; NULL where it never did

CREATE TABLE snapshots AS
SELECT step, feature, density, mean, drift, drift_final, jaccard
FROM query('SELECT 0::INTEGER AS step, 0::INTEGER AS feature, 0::FLOAT AS density, 0::FLOAT AS mean, 0::FLOAT AS drift,
    0::FLOAT AS drift_final, 0::FLOAT AS jaccard WHERE false'
    -- a training may be of the time before its jaccard was measured
    || CASE WHEN getvariable('snapshots') <> '' THEN
        ' UNION ALL BY NAME FROM read_parquet(getvariable(''snapshots''))' ELSE '' END)
ORDER BY feature, step;

CREATE TEMP TABLE lives AS
WITH active AS (
    SELECT feature, min(step) AS birth, max(step) AS last_active FROM snapshots WHERE density > 0 GROUP BY feature
),
steady AS (
    SELECT feature, avg(jaccard ORDER BY step) AS stability FROM snapshots GROUP BY feature
)
SELECT feature, birth, (SELECT min(step) FROM snapshots s WHERE s.step > last_active) AS death, stability
FROM active JOIN steady USING (feature);
