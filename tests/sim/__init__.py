"""Simulated providers: real HTTP servers with the documented JSON, the quirks and the failures of the real ones.

`clock.SimClock` is their time, `faults.FaultPlan` what goes wrong, `machines` the boxes behind them (real test boxes
or paper ones), `money` what the boxes cost, `server.serve` the HTTP server, `promises` what every provider must hold.
"""
