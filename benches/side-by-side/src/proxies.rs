//! The configurations of HAProxy and nginx for the proxy's work, as their documentation advises; pure.

use std::net::SocketAddr;
use std::path::Path;

/// HAProxy's: TCP mode on one thread, and `splice-auto`, by which the kernel passes on what comes in large pieces (HAProxy
/// configuration manual, 4.2).
pub(crate) fn haproxy(listen: SocketAddr, to: SocketAddr) -> String {
    format!(
        "global\n    nbthread 1\n    maxconn 4000\n\n\
         defaults\n    mode tcp\n    option splice-auto\n    timeout connect 5s\n    timeout client 10m\n    timeout server 10m\n\n\
         listen proxy\n    bind {listen} backlog 4096\n    server echo {to}\n"
    )
}

/// nginx's: the stream module in one worker, without an access log; its files are in `directory`.
pub(crate) fn nginx(listen: SocketAddr, to: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid {directory}/pid;\nerror_log stderr warn;\n\
         events {{\n    worker_connections 18000;\n}}\n\
         stream {{\n    access_log off;\n    server {{\n        listen {listen} backlog=4096;\n        proxy_pass {to};\n    }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_told_where_to_listen_and_whom_to_pass_on_to() {
        let (listen, to) = (([127, 0, 0, 1], 4040).into(), ([127, 0, 0, 1], 5050).into());
        for text in [haproxy(listen, to), nginx(listen, to, Path::new("/scratch"))] {
            assert!(text.contains("127.0.0.1:4040") && text.contains("127.0.0.1:5050"), "{text}");
        }
    }
}
