-- How strong a feature gets, for 35 and 40; no table stays.
--
-- percentiles    p50, p90 and p99 of a feature's active values, interpolated linearly between neighbours
-- strong         documents in which a feature is strong: its largest value there is above `strong`, or above `strong`
--                times the feature's p99 where `strong_by_p99`

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

CREATE TEMP TABLE strong AS
SELECT DISTINCT feature, doc
FROM activations a
JOIN tokens USING (token_idx)
JOIN percentiles p USING (feature)
WHERE percent = 99
    AND a.value > getvariable('strong') * CASE WHEN getvariable('strong_by_p99') THEN p.value ELSE 1 END;
