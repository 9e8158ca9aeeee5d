"""Client: a platform server as seen from here: addresses of runs, access, requests and downloads. What the server says
is data: it chooses no place on this disk and no other host."""
