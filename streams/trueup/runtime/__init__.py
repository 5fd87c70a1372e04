"""The wiring of TrueUp: Faust workers, metrics, commands. The only package that imports Faust and prometheus_client."""
