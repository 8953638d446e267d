-- clusters       decoder directions that lie together, and the clusters in a tree
--   cluster        from 0, the largest first; then the pairs in which they are joined, two by two, up to one
--   parent         the pair it is part of; NULL for the last
--   height         of a pair the mean cosine distance (1 - cosine) of the centres in its halves; 0 for a cluster
--   n              features in it
--   x, y           their mean place on the map: two principal components of unit decoder directions, or UMAP's
--   tokens         what its features fire on: the tokens with the largest sum of p ln(p/q) over its features, p the share
--                  of a feature's firings on the token and q its share of the text; none with p < q

CREATE TABLE clusters AS
WITH RECURSIVE tree AS (
    FROM read_parquet(getvariable('shards') || '/clusters.parquet')
),
above (cluster, node) AS (
    SELECT DISTINCT cluster, cluster FROM features WHERE cluster IS NOT NULL
    UNION ALL
    SELECT above.cluster, parent FROM above JOIN tree ON tree.cluster = node WHERE parent >= 0
),
shares AS (
    SELECT cluster, text, sum(t.n / f.n * ln(lift)) AS share
    FROM feature_tokens t JOIN features f USING (feature)
    WHERE lift > 1
    GROUP BY cluster, text
),
sums AS (
    SELECT node, text, sum(share) AS share FROM above JOIN shares USING (cluster) GROUP BY node, text
),
named AS (
    SELECT node, list_transform(min((-share, text), 8), lambda x: x[2]) AS tokens FROM sums GROUP BY node
)
SELECT
    tree.cluster,
    nullif(parent, -1) AS parent,
    height,
    n,
    x,
    y,
    coalesce(tokens, []) AS tokens
FROM tree LEFT JOIN named ON node = tree.cluster
ORDER BY tree.cluster;
