-- The analysed text: documents, and every position of every block in the order it was read.
--
-- documents      one row a document that was read
--   doc            its number in the order drawn, from 0; numbers of documents without a token are missing
--   category       what it is grouped by; '' where the corpus has no categories
--   source         where it is from
--   n_tokens       its tokens that were analysed, inserted BOS tokens not among them
--   digest         of its whole text: the same text has the same digest in every session
-- tokens         one row a position, padding left out
--   token_idx      dense, from 0, in the order read: a document's tokens are neighbours
--   doc            the document; that of the token after it for an inserted BOS
--   doc_pos        position in the document, from 0; NULL for an inserted BOS
--   block          number of the block the model saw it in, from 0
--   block_pos      position in that block, from 0
--   token_id, text the token
--   counted        false where the SAE is not defined: such a position has no activations and is in no denominator

CREATE TEMP TABLE vocabulary AS
SELECT token_id, text FROM read_parquet(getvariable('shards') || '/vocabulary.parquet');

-- Texts are not compressed where a few rows are looked for: to decompress those beside them took half the time.
CREATE TABLE tokens (
    token_idx INTEGER,
    doc INTEGER,
    doc_pos INTEGER,
    block INTEGER,
    block_pos INTEGER,
    token_id INTEGER,
    text VARCHAR USING COMPRESSION uncompressed,
    counted BOOLEAN
);

INSERT INTO tokens
SELECT token_idx, doc, doc_pos, block, block_pos, token_id, text, counted
FROM read_parquet(getvariable('shards') || '/tokens-*.parquet')
JOIN vocabulary USING (token_id)
ORDER BY token_idx;

CREATE TABLE documents AS
SELECT doc, category, source, n_tokens, digest
FROM read_parquet(getvariable('shards') || '/documents.parquet')
JOIN (SELECT doc, count(doc_pos) AS n_tokens FROM tokens GROUP BY doc) USING (doc)
ORDER BY doc;

-- What later files count in: block, token, category and half of each counted position. A half is every other document.
CREATE TEMP TABLE categories AS
SELECT
    doc,
    category,
    dense_rank() OVER (ORDER BY category) AS category_id,
    (row_number() OVER (ORDER BY doc) - 1) % 2 AS half
FROM documents;

CREATE TEMP TABLE places AS
SELECT token_idx, block, token_id, category_id, half
FROM tokens
JOIN categories USING (doc)
WHERE counted;
