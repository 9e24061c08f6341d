// @ts-check
// Whether it is dark at a place: a cab is driven at night, and a bright screen blinds. Good to a few minutes. Pure.

const DEG = Math.PI / 180;

/**
 * How high the sun stands, degrees above the horizon.
 * @param {number} lat @param {number} lon @param {number} ms UTC
 */
export function sunHeight(lat, lon, ms) {
  const days = ms / 86400e3 - 10957.5; // since noon of 1 January 2000
  const mean = (357.529 + 0.98560028 * days) * DEG;
  const long = (280.459 + 0.98564736 * days + 1.915 * Math.sin(mean) + 0.02 * Math.sin(2 * mean)) * DEG;
  const tilt = (23.439 - 0.00000036 * days) * DEG;
  const declination = Math.asin(Math.sin(tilt) * Math.sin(long));
  const ascension = Math.atan2(Math.cos(tilt) * Math.sin(long), Math.cos(long));
  const sidereal = (280.46062 + 360.98564737 * days + lon) * DEG;
  const hour = sidereal - ascension;
  return Math.asin(Math.sin(lat * DEG) * Math.sin(declination) + Math.cos(lat * DEG) * Math.cos(declination) * Math.cos(hour)) / DEG;
}

/** Whether the sun is down. @param {number} lat @param {number} lon @param {number} ms UTC */
export const isNight = (lat, lon, ms) => sunHeight(lat, lon, ms) < -0.83;
