"""Fetches models from hubs: plans first, resumes always, and calls nothing there that it has not verified.

Standard library and `curl` only: it runs on boxes under the controller's Python, and on the laptop for forecasts.
"""
