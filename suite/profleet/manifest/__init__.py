"""Manifests: the documents, how they are named, found, read, locked and described to editors.

``documents`` holds the models, ``reference`` and ``versions`` how one is named, ``library`` where
it is found, ``loading`` how it is read, ``stack`` and ``lock`` what a set of them resolves to.
Import from the modules: those that need pydantic cost more than a listing may take.
"""
