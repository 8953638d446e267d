-- coactivations  features that fire together most, of all pairs
--   rank           from 0, by Jaccard index, the largest first
--   other, n       the other feature, and tokens on which both are active; above 33 million activations an estimate
--   jaccard        n / tokens on which at least one is active
--   pmi            ln(P(both) / (P(one) P(other))), in nats: 0 where they have nothing to do with each other
--   pearson        correlation of both activations over all counted tokens, silent ones included
-- correlations   dimensions of the activation (neurons, at a hook point in an MLP) that go with a feature
--   rank           from 0, the largest |pearson| first
--   neuron         the dimension
--   pearson, cosine  of the feature's activation and the dimension's value, over all counted tokens

CREATE TABLE coactivations AS
SELECT feature, rank, other, n, jaccard, pmi, pearson
FROM read_parquet(getvariable('shards') || '/coactivations.parquet')
ORDER BY feature, rank;

CREATE TABLE correlations AS
SELECT feature, rank, neuron, pearson, cosine
FROM read_parquet(getvariable('shards') || '/correlations.parquet')
ORDER BY feature, rank;
