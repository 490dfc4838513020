"""FedDMMR: a SASRec trunk, modality experts that read the user's memory, and a router over them.

Dimension names, used in every shape of this package:

    batch       histories (or windows of histories) computed together
    seq         positions of a history window, oldest first
    dim         width of the backbone
    feature     width of a modality's features, kept as its encoder gave it
    items       candidates scored for a history; `catalogue` where it is every item and padding
    slots       entries of the memory
    experts     modality x time-scale readers of the memory
    negatives   sampled items that a user did not choose

Fixed names: `item_ids [batch, seq]` (0 = padding), `hidden [batch, seq, dim]`,
`scores [batch, seq, items]`, `gate`, `router_weights [batch, seq, items, experts]`.
"""
