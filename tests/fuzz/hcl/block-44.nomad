{"job":{"a":{"datacenters":["dc1"],"group":{"g":{"count":2,"task":{"t":{"driver":"exec","config":{"command":"x","n":1}}}}}}}}
