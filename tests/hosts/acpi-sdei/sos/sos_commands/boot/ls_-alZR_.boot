/boot:
total 1
drwxrwxrwt  2 root root ?   40 Jan  1 00:00 .
drwxr-xr-x 17 root root ? 1024 Nov 26  2026 ..
