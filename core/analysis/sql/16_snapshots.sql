-- How features emerged, from `snapshots.parquet` of the training; empty where it took no snapshots.
--
-- snapshots        one row a snapshot and feature; measured on a sample of what the SAE was trained on
--   density, mean  share of the sample on which it was active, and the mean of its active values; NULL where never
--   drift          1 - cosine of its decoder row and that of the snapshot before; NULL at the first
--   drift_final    1 - cosine of its decoder row and that of the last snapshot
--
-- For 40_features.sql: `lives`
--   birth          step of the first snapshot on which it was active; NULL where it was on none
--   death          step of the snapshot after the last one on which it was active; NULL where that is the last of all,
--                  or it was never active

CREATE TABLE snapshots AS
SELECT step, feature, density, mean, drift, drift_final
FROM query(CASE
    WHEN getvariable('snapshots') <> '' THEN 'FROM read_parquet(getvariable(''snapshots''))'
    ELSE 'SELECT 0::INTEGER AS step, 0::INTEGER AS feature, 0::FLOAT AS density, 0::FLOAT AS mean,
        0::FLOAT AS drift, 0::FLOAT AS drift_final WHERE false'
END)
ORDER BY feature, step;

CREATE TEMP TABLE lives AS
WITH active AS (
    SELECT feature, min(step) AS birth, max(step) AS last_active FROM snapshots WHERE density > 0 GROUP BY feature
)
SELECT feature, birth, (SELECT min(step) FROM snapshots s WHERE s.step > last_active) AS death
FROM active;
