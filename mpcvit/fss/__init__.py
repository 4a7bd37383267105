"""Function secret sharing for two parties and a dealer: pure functions on arrays, no I/O, no randomness of their own.

A dealer cuts the description of a secret function (a comparison with alpha, a table read at alpha) into two keys; each
party evaluates its key at public points and holds a share of the result, without a word exchanged. A key here is a
root seed, private to its party, and correction words, the same for both. Module by module:

    tree_hash    the fixed-key AES hash that grows every tree
    tree         the tree of a distributed point function: dealing and walking one path
    compare      [x < alpha], XOR shares of one bit
    unit_vector  payload at position alpha of a short vector, additive shares
    dcf          payload * [x < alpha], additive shares
    lookup       a spline read with shares of a unit vector
    onehot       [x < alpha] without AES, in a few rounds of packed bits
"""
