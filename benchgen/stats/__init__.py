"""From influence to estimates: standard errors, intervals, paired differences, ranks. Pure."""
