"""fedrec: federated multimodal recommendation. The library; it knows no Flower."""
