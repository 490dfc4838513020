"""How a cohort's users train: each from the same model, each on its own data, all together.

`node` is what a client calls, `batches` draws what a user trains on, `cohort` and `copies` train,
`losses` and `objectives` say what is minimised.
"""
