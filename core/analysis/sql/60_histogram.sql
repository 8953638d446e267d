-- histogram      how a feature's active values are spread; nothing for one that never fired
--   bin            from 0 to `histogram_bins` - 1, of equal width over (0, max]
--   lo, hi         the bin holds lo < value <= hi
--   n              active values in it, 0 included; they sum to the feature's n

CREATE TABLE histogram AS
WITH filled AS (
    SELECT
        feature,
        ceil(value / max * getvariable('histogram_bins'))::INTEGER - 1 AS bin,
        count(*) AS n
    FROM activations JOIN spans USING (feature)
    GROUP BY feature, bin
)
SELECT
    s.feature,
    b.bin,
    max * b.bin / getvariable('histogram_bins') AS lo,
    max * (b.bin + 1) / getvariable('histogram_bins') AS hi,
    coalesce(f.n, 0) AS n
FROM spans s
CROSS JOIN (SELECT unnest(range(getvariable('histogram_bins')))::INTEGER AS bin) b
LEFT JOIN filled f ON f.feature = s.feature AND f.bin = b.bin
ORDER BY s.feature, b.bin;
