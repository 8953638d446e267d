-- feature_categories  how a feature's firing splits over the categories of the text; no rows without categories
--   category       only those in which it fired
--   n              counted tokens of the category on which it is active
--   density        n / counted tokens of the category
--   mean           of its active values there
--   strong_docs    documents of the category in which it is strong (see 25_strengths.sql)
--
-- For 40_features.sql: `category_entropies` (as token_entropies, of the category of the document) and `specialists`:
-- the category with the most documents in which the feature is strong, ties to the first by name, and the score
-- of it: strong documents inside the category less those outside it.

CREATE TABLE feature_categories AS
WITH sizes AS (
    SELECT category_id, count(*) AS tokens FROM places GROUP BY category_id
),
names AS (
    SELECT DISTINCT category_id, category FROM categories
),
firings AS (
    SELECT feature, category_id, count(*) AS n, avg(value) AS mean
    FROM activations JOIN places USING (token_idx)
    GROUP BY feature, category_id
),
counted AS (
    SELECT feature, category_id, count(*) AS docs
    FROM strong JOIN categories USING (doc)
    GROUP BY feature, category_id
)
SELECT feature, category, n, n / tokens AS density, mean, coalesce(docs, 0) AS strong_docs
FROM firings
JOIN sizes USING (category_id)
JOIN names USING (category_id)
LEFT JOIN counted USING (feature, category_id)
WHERE EXISTS (FROM documents WHERE category <> '')
ORDER BY feature, category;

CREATE TEMP TABLE category_entropies AS
SELECT feature, sum(f.n / s.n * ln(s.n / f.n)) AS category_entropy
FROM feature_categories f JOIN spans s USING (feature)
GROUP BY feature;

CREATE TEMP TABLE specialists AS
SELECT
    feature,
    arg_min(category, (-strong_docs, category)) AS specialist_category,
    2 * max(strong_docs) - sum(strong_docs)::BIGINT AS specialist_score
FROM feature_categories
GROUP BY feature
HAVING max(strong_docs) > 0;
