"""What ``lit-gen sweep`` is made of: a space of options, the study that draws from it, a trial's process."""
