"""From the results of runs to a report of samples, as microplastics research publishes it."""
