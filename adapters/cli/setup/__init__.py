"""`easel setup`: hardware, models, bot tokens, administrators."""
