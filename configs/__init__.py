"""The experiments, a YAML each; `radiolucent fit --config` reads them."""
