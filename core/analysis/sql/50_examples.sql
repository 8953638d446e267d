-- examples       places where a feature is active, at most one of each block within a band
--   feature, band  band 0: the `top_examples` strongest. Bands 1 to `bands` cut (0, max] of the feature into equal
--                  intervals of value, 1 the highest, closed above: `band_examples` drawn from each
--   rank           within feature and band, from 0: strongest first
--   token_idx, value  the activation
--
-- Each activation has a number: its rowid in band 0, in the others a hash of feature and token_idx with the rowid behind
-- it (28 and 36 bits), as good as random and the same every time. Of a block's activations in a band the smallest number
-- stands for it, and the blocks with the smallest are kept.
--
-- Nearly always the first few activations hold as many blocks as are kept, and then none of the rest can count. Only
-- where they do not are all activations of the band gone through by block, which takes ten times as long.

CREATE TEMP VIEW numbered AS
SELECT feature, token_idx, 0 AS band, rowid::UBIGINT AS number FROM activations
UNION ALL
SELECT
    feature,
    token_idx,
    getvariable('bands') + 1 - ceil(value / max * getvariable('bands'))::INTEGER AS band,
    (hash(feature, token_idx) >> 36 << 36) | a.rowid::UBIGINT AS number
FROM activations a JOIN spans USING (feature)
WHERE getvariable('bands') > 0;

-- Of each band as many blocks as are kept, and how many activations that takes as a rule.
CREATE TEMP TABLE wanted AS
SELECT unnest(range(getvariable('bands') + 1))::INTEGER AS band,
    if(band = 0, getvariable('top_examples'), getvariable('band_examples'))::BIGINT AS blocks;

CREATE TEMP TABLE firsts AS
SELECT feature, 0 AS band, n, range(first_row, first_row + least(n, 2 * getvariable('top_examples')))::UBIGINT[] AS numbers
FROM spans
UNION ALL
SELECT feature, band, count(*), min(number, 2 * getvariable('band_examples')::BIGINT)
FROM numbered
WHERE band > 0
GROUP BY feature, band;

CREATE TEMP TABLE by_block AS
SELECT feature, band, block, min(number) AS number
FROM (SELECT feature, band, unnest(numbers) AS number FROM firsts)
JOIN (SELECT rowid AS row_id, token_idx FROM activations) ON row_id = number & ((1::UBIGINT << 36) - 1)
JOIN places USING (token_idx)
GROUP BY feature, band, block;

CREATE TEMP TABLE unsettled AS
SELECT feature, band
FROM firsts JOIN wanted USING (band)
    JOIN (SELECT feature, band, count(*) AS found FROM by_block GROUP BY feature, band) USING (feature, band)
WHERE n > len(numbers) AND found < blocks;

CREATE TEMP TABLE chosen AS
WITH all_blocks AS (
    FROM by_block ANTI JOIN unsettled USING (feature, band)
    UNION ALL
    SELECT feature, band, block, min(number) AS number
    FROM numbered SEMI JOIN unsettled USING (feature, band) JOIN places USING (token_idx)
    GROUP BY feature, band, block
)
SELECT feature, band, unnest(min(number, getvariable('top_examples')::BIGINT)) AS number
FROM all_blocks WHERE band = 0 GROUP BY feature, band
UNION ALL
SELECT feature, band, unnest(min(number, getvariable('band_examples')::BIGINT))
FROM all_blocks WHERE band > 0 GROUP BY feature, band;

CREATE TABLE examples AS
SELECT
    c.feature,
    band,
    row_number() OVER (PARTITION BY c.feature, band ORDER BY row_id)::INTEGER - 1 AS rank,
    token_idx,
    value
FROM (SELECT feature, band, number & ((1::UBIGINT << 36) - 1) AS row_id FROM chosen) c
    JOIN (SELECT rowid AS row_id, token_idx, value FROM activations) USING (row_id)
ORDER BY c.feature, band, rank;
