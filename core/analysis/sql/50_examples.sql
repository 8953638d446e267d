-- examples       places where a feature is active, at most one of each block within a band
--   feature, band  band 0: the `top_examples` strongest. Bands 1 to `bands` cut (0, max] of the feature into equal
--                  intervals of value, 1 the highest, closed above: `band_examples` drawn from each
--   rank           within feature and band, from 0: strongest first
--   token_idx, value  the activation
--
-- Of a block's activations band 0 keeps the strongest. The others keep the one with the smallest hash of feature and
-- token_idx, and of these the smallest over blocks: as good as random, and the same every time. Hash and rowid share
-- one number, 28 and 36 bits, because a minimum over numbers takes a quarter of the time of one over pairs.

CREATE TEMP TABLE chosen AS
WITH strongest AS (
    SELECT feature, min(a.rowid) AS row_id
    FROM activations a JOIN places USING (token_idx)
    GROUP BY feature, block
)
SELECT feature, 0 AS band, unnest(min(row_id, getvariable('top_examples')::BIGINT)) AS row_id
FROM strongest
GROUP BY feature;

INSERT INTO chosen
WITH drawn AS (
    SELECT
        feature,
        getvariable('bands') + 1 - ceil(value / max * getvariable('bands'))::INTEGER AS band,
        min((hash(feature, token_idx) >> 36 << 36) | a.rowid::UBIGINT) AS draw
    FROM activations a JOIN spans USING (feature) JOIN places USING (token_idx)
    WHERE getvariable('bands') > 0
    GROUP BY feature, band, block
),
kept AS (
    SELECT feature, band, unnest(min(draw, getvariable('band_examples')::BIGINT)) AS draw
    FROM drawn
    GROUP BY feature, band
)
SELECT feature, band, draw & ((1::UBIGINT << 36) - 1) FROM kept;

CREATE TABLE examples AS
SELECT
    c.feature,
    band,
    row_number() OVER (PARTITION BY c.feature, band ORDER BY row_id)::INTEGER - 1 AS rank,
    token_idx,
    value
FROM chosen c JOIN (SELECT rowid AS row_id, token_idx, value FROM activations) USING (row_id)
ORDER BY c.feature, band, rank;
