"""The networks: numbers in spec, modules in unet, multires and segnet, names in registry."""
