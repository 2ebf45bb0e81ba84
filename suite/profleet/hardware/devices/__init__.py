"""Device models: what a layer costs on a device that nobody here owns.

Every module states its equations and where they come from. A model is a frozen dataclass of
parameters; its answers are pure functions of (layer signature, parameters).
"""
