"""The rig: a whole device, virtual or on a bench, driven by what a hand, an ear and an eye could touch.

`rigs/*.yaml` say what a rig is made of, `roles` what its parts can do, `drivers` and `bench` do it on labgrid,
`strategy` gets the device from off to ready, and `tests/` run on every rig alike. docs/hil.md tells how.
"""
