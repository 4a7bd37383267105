"""What the structure of a model says of its values for every picture, beyond interval arithmetic.

Behind a norm, |y| <= sqrt(d) (as computed: a little more, :attr:`mpcvit.export.normalise.Normed.gain`), so the input
of every layer behind one lies in a ball that no picture leaves. Bounds are certificates: whatever the parameters that
an optimiser found, they hold; better ones only make them tighter. Weights are taken as their codes say them, and what
fixed point rounds is added.
"""
