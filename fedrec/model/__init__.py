"""FedDMMR: a SASRec trunk, modality experts that read the user's memory, and a router over them.

Dimension names, used in every shape of this package:

    batch       histories (or windows of histories) computed together
    seq         positions of a history window, oldest first
    dim         width of the backbone
    transitions what an item follows, and as many numbers for where it leads
    columns     of a row of the item table: dim + 2 * transitions
    feature     width of a modality's features, kept as its encoder gave it
    items       candidates scored for a history; `catalogue` where it is every item and padding
    slots       entries of the memory
    experts     modality x time-scale readers of the memory
    negatives   sampled items that a user did not choose

Fixed names: `item_ids [batch, seq]` (0 = padding), `hidden [batch, seq, dim]` (from
`FedDMMR.encode` with where the history leads beside it: dim + transitions),
`scores [batch, seq, items]`, `gate`, `router_weights [batch, seq, items, experts]`.
"""
