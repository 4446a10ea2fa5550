"""The pieces of the SegAdversarial module: its panel, its worker process, and how both meet the scene."""
