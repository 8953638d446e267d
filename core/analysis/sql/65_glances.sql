-- glances        what a feature's row in a list shows of it, as JSON: to gather it anew for a hundred features all over the
--                tables takes longer than all else of a page
--   tokens         the texts of the tokens it fires on most often, the first four of feature_tokens
--   histogram      how many of its active values are in each bin of histogram, from the weakest

CREATE TABLE glances (
    feature INTEGER,
    tokens VARCHAR USING COMPRESSION uncompressed,  -- as the text of tokens
    histogram VARCHAR USING COMPRESSION uncompressed
);

INSERT INTO glances
WITH texts AS (
    SELECT feature, to_json(list(text ORDER BY n DESC, token_id)[:4])::VARCHAR AS tokens
    FROM feature_tokens
    GROUP BY feature
),
bars AS (
    SELECT feature, to_json(list(n ORDER BY bin))::VARCHAR AS histogram FROM histogram GROUP BY feature
)
SELECT feature, coalesce(tokens, '[]') AS tokens, coalesce(histogram, '[]') AS histogram
FROM features LEFT JOIN texts USING (feature) LEFT JOIN bars USING (feature)
ORDER BY feature;
