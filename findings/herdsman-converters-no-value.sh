#!/bin/sh
# zigbee-herdsman-converters makes numbers of ZCL's "no value": -327.68 degrees, 655.35 %RH, 3.5 million lux.
#
# Software:     zigbee-herdsman-converters 26.105.0 (zigbee2mqtt's tables), its generic extensions for sensors; Node 20
#               or later.
# Expected:     the values by which a device says that it has none (ZCL: 0x8000 for temperature and pressure, 0xffff for
#               humidity, illuminance, soil moisture and flow) give no property, as 0xff for a battery does.
# Happens:      battery 0xff, battery voltage 0xff and power 0x8000 give none. Temperature, pressure, humidity,
#               illuminance, soil moisture and flow are scaled and go out like measurements. CO2 and PM2.5, which are
#               floats, raise "Value is not a number" for NaN. An illuminance of 0 ("too low to measure") is about 1
#               lux.
# Who meets it: who takes states from zigbee2mqtt over MQTT: a sensor that has no reading (at its start, without its
#               probe) says so by these values, and a mean, a thermostat or an alarm then sees -327.68.
# What to do:   behind zigbee2mqtt drop what is outside the range of the physical quantity (humidity above 100); in a
#               converter of one's own compare with the invalid value before scaling.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" zigbee-herdsman-converters@26.105.0 \
    >npm.log 2>&1 \
    || { cat npm.log; exit 77; }

cat >check.js <<'JS'
const extend = require('zigbee-herdsman-converters/lib/modernExtend');

/** What becomes of one reported attribute: its first property rounded to 2 places, null for none, or the error. */
function convert(extension, cluster, data) {
  const device = { modelID: 'sensor', manufacturerName: 'maker', ieeeAddr: '0x0000000000000001' };
  const divisors = { acPowerMultiplier: 1, acPowerDivisor: 1 };
  const getClusterAttributeValue = (name, attribute) => divisors[attribute];
  const endpoint = { ID: 1, getDevice: () => device, getClusterAttributeValue };
  const message = { data, cluster, type: 'attributeReport', endpoint, device, meta: {}, groupID: 0 };
  const model = { model: 'sensor', vendor: 'maker', meta: {}, exposes: [] };
  for (const converter of extension.fromZigbee) {
    if (converter.cluster !== cluster || ![converter.type].flat().includes('attributeReport')) continue;
    try {
      const values = Object.values(converter.convert(model, message, () => {}, {}, { state: {}, device }) || {});
      return values.length ? Math.round(values[0] * 100) / 100 : null;
    } catch (error) {
      return error.message;
    }
  }
  throw new Error(`no converter for ${cluster}`);
}

const measured = (extension, cluster, ...values) =>
  values.map((measuredValue) => convert(extension, cluster, { measuredValue }));
const battery = extend.battery({ voltage: true });
const seen = {
  'temperature, 2150 and 0x8000': measured(extend.temperature(), 'msTemperatureMeasurement', 2150, -0x8000),
  'humidity, 5000 and 0xffff': measured(extend.humidity(), 'msRelativeHumidity', 5000, 0xffff),
  'pressure, 1013 and 0x8000': measured(extend.pressure(), 'msPressureMeasurement', 1013, -0x8000),
  'illuminance, 20001, 0 and 0xffff': measured(extend.illuminance(), 'msIlluminanceMeasurement', 20001, 0, 0xffff),
  'soil moisture, 5000 and 0xffff': measured(extend.soilMoisture(), 'msSoilMoisture', 5000, 0xffff),
  'flow, 100 and 0xffff': measured(extend.flow(), 'msFlowMeasurement', 100, 0xffff),
  'CO2, 0.0004 and NaN': measured(extend.co2(), 'msCO2', 0.0004, NaN),
  'PM2.5, 12 and NaN': measured(extend.pm25(), 'pm25Measurement', 12, NaN),
  'battery, 200 and 0xff': [200, 0xff].map(
    (value) => convert(battery, 'genPowerCfg', { batteryPercentageRemaining: value })),
  'battery voltage, 30 and 0xff': [30, 0xff].map((value) => convert(battery, 'genPowerCfg', { batteryVoltage: value })),
  'power, 100 and 0x8000': [100, -0x8000].map(
    (value) => convert(extend.electricityMeter({}), 'haElectricalMeasurement', { activePower: value })),
};
const nan = 'Value is not a number, got number (NaN)';
const stated = {
  'temperature, 2150 and 0x8000': [21.5, -327.68],
  'humidity, 5000 and 0xffff': [50, 655.35],
  'pressure, 1013 and 0x8000': [101.3, -3276.8],
  'illuminance, 20001, 0 and 0xffff': [100, 1, 3576020.5],
  'soil moisture, 5000 and 0xffff': [50, 655.35],
  'flow, 100 and 0xffff': [10, 6553.5],
  'CO2, 0.0004 and NaN': [400, nan],
  'PM2.5, 12 and NaN': [12, nan],
  'battery, 200 and 0xff': [100, null],
  'battery voltage, 30 and 0xff': [3000, null],
  'power, 100 and 0x8000': [100, null],
};
for (const [name, values] of Object.entries(seen)) console.log(`${name}: ${JSON.stringify(values)}`);
process.exit(JSON.stringify(seen) === JSON.stringify(stated) ? 0 : 1);
JS
node check.js
