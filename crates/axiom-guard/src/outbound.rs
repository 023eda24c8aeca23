//! Where this program may connect to because somebody told it a URL: in a configuration, over the admin API, in a server's metadata, in
//! a redirect.
//!
//! A URL that others chose can name what only this machine reaches: its own services, the private network, the cloud's metadata
//! address (SSRF, CWE-918). So a [`Destination`] is looked at before anything is sent, the addresses of its name when it is resolved
//! ([`Policy::permits`]), and both again at each redirect. Connecting must use the addresses that were looked at: a name may lead
//! elsewhere a moment later (DNS rebinding).

use std::net::IpAddr;

use url::{Host, Url};

pub use address::Reach;

mod address;

/// What may be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Plain `http` beyond this machine. To this machine itself nothing is encrypted anyway.
    pub plain: bool,
    /// This machine.
    pub loopback: bool,
    /// Networks of one's own: private, shared and unique local addresses.
    pub private: bool,
}

/// A URL that may be asked for, as far as it can be told before its name is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    url: Url,
    host: Host<String>,
    port: u16,
}

/// Why a URL is not asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    #[error("it is no URL: {0}")]
    NoUrl(String),
    #[error("its scheme is '{scheme}'; only https is asked for{}", plain_hint(scheme))]
    Scheme { scheme: String },
    #[error("it has a user name or a password in it, which end up in logs; give credentials in a header")]
    Userinfo,
    #[error("it names no host")]
    NoHost,
    #[error("'{0}' is a name of this machine, and only what others can reach as well may be asked for")]
    Name(String),
    #[error("{address} is {}, and only what is reachable for everybody may be asked for", .reach.as_str())]
    Address { address: IpAddr, reach: Reach },
    #[error("'{0}' has no address")]
    Nowhere(String),
}

fn plain_hint(scheme: &str) -> &'static str {
    match scheme {
        "http" => ", and http where the configuration allows it",
        _ => "",
    }
}

/// Names that lead to this machine or to one that only this network knows, whatever a resolver says.
const OWN_NAMES: [&str; 4] = ["localhost", "localdomain", "internal", "local"];

impl Policy {
    /// Looks at a URL.
    ///
    /// # Errors
    /// Why it must not be asked for, before anything was resolved or sent.
    pub fn destination(&self, text: &str) -> Result<Destination, Barred> {
        let url = Url::parse(text).map_err(|error| Barred::NoUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Barred::Scheme {
                scheme: url.scheme().to_owned(),
            });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Barred::Userinfo);
        }
        let host = url.host().ok_or(Barred::NoHost)?.to_owned();
        let port = url.port_or_known_default().ok_or(Barred::NoHost)?;
        let is_here = match &host {
            Host::Ipv4(address) => self.permit(IpAddr::V4(*address))? == Reach::Loopback,
            Host::Ipv6(address) => self.permit(IpAddr::V6(*address))? == Reach::Loopback,
            Host::Domain(name) => self.permit_name(name)?,
        };
        if url.scheme() == "http" && !self.plain && !is_here {
            return Err(Barred::Scheme {
                scheme: "http".to_owned(),
            });
        }
        Ok(Destination { url, host, port })
    }

    /// Looks at the addresses to which a destination's name leads, and returns them: only to these may be connected. One that is barred
    /// bars all: whoever answers for the name means no good.
    ///
    /// # Errors
    /// Which one is barred and why, or that there is none.
    pub fn permits(&self, destination: &Destination, found: &[IpAddr]) -> Result<Vec<IpAddr>, Barred> {
        if found.is_empty() {
            return Err(Barred::Nowhere(destination.host.to_string()));
        }
        let is_plain = destination.url.scheme() == "http";
        for address in found {
            let reach = self.permit(*address)?;
            if is_plain && !self.plain && reach != Reach::Loopback {
                return Err(Barred::Scheme {
                    scheme: "http".to_owned(),
                });
            }
        }
        Ok(found.to_vec())
    }

    /// Looks at where a redirect leads, which may be said relative to where it came from.
    ///
    /// # Errors
    /// As [`destination`](Policy::destination).
    pub fn redirect(&self, from: &Destination, location: &str) -> Result<Destination, Barred> {
        let url = from
            .url
            .join(location)
            .map_err(|error| Barred::NoUrl(error.to_string()))?;
        self.destination(url.as_str())
    }

    fn permit(&self, address: IpAddr) -> Result<Reach, Barred> {
        let reach = Reach::of(address);
        let is_permitted = match reach {
            Reach::Everybody => true,
            Reach::Loopback => self.loopback,
            Reach::Private => self.private,
            Reach::Link | Reach::Metadata | Reach::Nobody => false,
        };
        match is_permitted {
            true => Ok(reach),
            false => Err(Barred::Address { address, reach }),
        }
    }

    /// Whether a name that may be asked for is this machine's.
    fn permit_name(&self, name: &str) -> Result<bool, Barred> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let last = name.rsplit_once('.').map_or(&*name, |(_, last)| last);
        let is_here = last == "localhost";
        let is_permitted = match OWN_NAMES.contains(&last) {
            true if is_here => self.loopback,
            true => self.private,
            false => true,
        };
        if is_permitted {
            return Ok(is_here);
        }
        Err(Barred::Name(name))
    }
}

impl Destination {
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name that is to be resolved; `None` where the URL says an address.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Domain(name) => Some(name),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    /// Whether credentials for this one may be sent to that one: scheme, host and port are the same (RFC 6454).
    pub fn is_same_origin(&self, other: &Destination) -> bool {
        self.url.scheme() == other.url.scheme() && self.host == other.host && self.port == other.port
    }
}

#[cfg(test)]
mod tests;
