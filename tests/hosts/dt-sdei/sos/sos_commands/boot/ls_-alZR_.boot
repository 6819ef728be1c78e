/boot:
total 1
drwxrwxrwt  2 root root ?   40 Nov 26 22:48 .
drwxr-xr-x 17 root root ? 1024 Nov 26 16:44 ..
