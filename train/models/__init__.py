"""The paper's networks: numbers in spec, modules in unet and multires, names in catalogue."""
