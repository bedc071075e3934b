"""Many images at a time whose network is evaluated on a device, usually a GPU.

steps       an image on its way: contexts go out, outputs come back, symbols are coded on the host
evaluator   outputs of the contexts of many images, computed on the device
networks    which models are evaluated together, and by what
batched     images take their turns together, while the device works for those whose turn is next
"""
