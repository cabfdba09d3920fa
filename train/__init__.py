"""train: what runs on the workstation. Stands on `edge`; PyTorch is imported only where used."""
