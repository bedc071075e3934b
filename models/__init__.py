"""What is known about pixels. A way to read it, one idea a file:

    neighbourhood     the pixels that a network sees, and those beyond the border
    description       everything about a model but its weights
    contexts          the network's inputs, gathered from an image
    context_net       the float network
    mixture           what its outputs mean, and how many bits they cost
    output_units      their units, float and integer
    freeze, rounding  a float network becomes an integer one
    frozen            the integer network, as data; frozen_net evaluates it
    fixed_point       units of the integer mixture
    fixed_tables      its tables
    fixed_mixture     integer outputs to the points of a distribution, which the coder takes
    model_file        frozen models in files
    store             which model a task uses

Beside that way: adaptation (an image's changes of a model), adaptable and adapted_net (how they are looked for);
checkpoint, measure, specialty (training); fused and fused_kernel (many networks at a time on a GPU).
"""
