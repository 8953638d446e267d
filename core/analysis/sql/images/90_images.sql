-- Of image models alone. A document is an image, its tokens the places of the hook point (one, but in a feature map), a
-- token's text the image's label; its categories are the labels, so that what other files say of them is said of these.
--
-- images         the analysed images
--   doc            its document
--   image          its number in the data set
--   label          its class
--   predicted      what the classifier says; NULL without one
--   pixels         28 x 28 bytes, row by row, 0 the ground
-- patterns       what a feature responds to: the gradient of its activation with respect to the pixels (0 to 1), the mean
--                over its top images; no rows for a feature that never fired
--   y, x, value    row and column from 0
-- snapshot_images  as both were in training, for each snapshot whose SAE was kept and each feature that fired then
--   step, feature
--   doc, value     the image on which it was strongest, and its activation there
--   pattern        784 numbers, row by row: what it responded to, as in `patterns`
-- effects        what a feature does to the logits; no rows without a classifier, or for a feature that never fired
--   class          0 to 9
--   switched_on    mean change of its logit where the feature was silent and is set to the mean of its active values; NULL
--                  where no image was
--   ablated        mean change of its logit where the feature was active and is set to 0; NULL where no image was, of those
--                  it was measured on

CREATE TABLE images AS
SELECT doc, image, label, predicted, pixels
FROM read_parquet(getvariable('shards') || '/images.parquet')
ORDER BY doc;

CREATE TABLE patterns AS
SELECT feature, y, x, value
FROM read_parquet(getvariable('shards') || '/patterns.parquet')
ORDER BY feature, y, x;

CREATE TABLE snapshot_images AS
SELECT step, feature, doc, value, pattern
FROM read_parquet(getvariable('shards') || '/snapshot_images.parquet')
ORDER BY feature, step;

CREATE TABLE effects AS
SELECT
    feature,
    class,
    CASE WHEN NOT isnan(switched_on) THEN switched_on END AS switched_on,
    CASE WHEN NOT isnan(ablated) THEN ablated END AS ablated
FROM read_parquet(getvariable('shards') || '/effects.parquet')
ORDER BY feature, class;
