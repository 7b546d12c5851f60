"""The gateway's own schema: asking for it by reflection, comparing it with the compiled one, adapting calls to it.

What is compiled in is a copy of the gateway's schema, with a date. This room finds out where the two differ before
anything is sent. It stands beside the call path and knows no client; what a verdict means for a call is decided in
`invora_grpc.schema.policy`.
"""
