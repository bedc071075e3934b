"""How symbols become bytes. A way to read it, one idea a file:

    scan             the three scan orders as three values
    numpyac          the arithmetic coder
    codec            the one traversal: every order, encoding, decoding and measuring, with PyTorch
    native           the same in compiled code (src/ is described in docs/native.md)
    backends         which of them codes an image; cores shares a CPU among images
    network_rows     rows of pixels coded by a network
    plain            rows coded without one
    colours, planes  what else a group of channels may be taken for, and which way takes the fewest bytes
    container        the .p59 file; fields reads and writes its numbers
    picture          an image in all that a file keeps of it
    image_codec      images to files and back

What an encoder chooses, beside that way: model_choice (the network), placement (the orientation), fitting and
torch_fitting (the adaptation, which side_information writes). With PyTorch and on a GPU: torch_backends, gpu,
kept_backends. For looking at an image: recorder.
"""
