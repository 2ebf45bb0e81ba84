"""From a model manifest to the ONNX artifact that every framework executes.

``artifact.obtain`` is the entry: it takes the network from its source (``sources``, ``builders``),
applies the manifest's ``transforms`` and keeps the result in a content-addressed cache.
``reference`` computes the numbers that every framework is checked against; ``author`` writes the
computed part of a manifest.
"""
