"""The clients' side: Flower's ClientApp, and the launcher of a SuperNode."""
