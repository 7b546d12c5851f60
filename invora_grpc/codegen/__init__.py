"""Generation of the stubs and of the catalog, and the checks on the wire schema.

This room turns `proto/` into `gen/invora_api/` and watches that the schema stays what it was. It is a
door for developers and CI: nothing at run time imports it.
"""
