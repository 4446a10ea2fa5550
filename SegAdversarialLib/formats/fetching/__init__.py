"""Networks that others trained, fetched from where they publish them: the list of them, the folder for them, the transfer."""
